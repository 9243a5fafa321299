/* Built against a source tree of opus 1.5.2: FARGAN from a state of zeros, and what each frame begins with.
   In: 36 floats a frame, as `fargan_demo -features` writes them. Out, for all frames but the last: conditioning (320),
   period, state (837: GRUs, column before, excitation, last sample), samples (160). */
#include <stdio.h>

#include "fargan.c"

static int period_of(const float *features)
{
  return (int)floor(.5 + 256. / pow(2.f, features[NB_BANDS] + 1.5));
}

int main(int argc, char **argv)
{
  FARGANState state;
  float features[NB_TOTAL_FEATURES], cond[COND_NET_FDENSE2_OUT_SIZE], samples[FARGAN_FRAME_SIZE];
  FILE *in, *out;
  if (argc != 4 || !(in = fopen(argv[1], "rb")) || !(out = fopen(argv[2], "wb"))) return 1;
  fargan_init(&state);
  state.cont_initialized = 1;
  if (argv[3][0] == 'c') state.arch = 0; /* plain C instead of what this processor has */
  if (fread(features, sizeof(float), NB_TOTAL_FEATURES, in) != NB_TOTAL_FEATURES) return 1;
  state.last_period = period_of(features);
  compute_fargan_cond(&state, cond, features, state.last_period);
  while (fread(features, sizeof(float), NB_TOTAL_FEATURES, in) == NB_TOTAL_FEATURES)
  {
    FARGANState before = state;
    float period = (float)state.last_period;
    compute_fargan_cond(&before, cond, features, period_of(features));
    fwrite(cond, sizeof(float), COND_NET_FDENSE2_OUT_SIZE, out);
    fwrite(&period, sizeof(float), 1, out);
    fwrite(state.gru1_state, sizeof(float), SIG_NET_GRU1_STATE_SIZE, out);
    fwrite(state.gru2_state, sizeof(float), SIG_NET_GRU2_STATE_SIZE, out);
    fwrite(state.gru3_state, sizeof(float), SIG_NET_GRU3_STATE_SIZE, out);
    fwrite(state.fwc0_mem, sizeof(float), SIG_NET_INPUT_SIZE, out);
    fwrite(state.pitch_buf, sizeof(float), PITCH_MAX_PERIOD, out);
    fwrite(&state.deemph_mem, sizeof(float), 1, out);
    fargan_synthesize(&state, samples, features);
    fwrite(samples, sizeof(float), FARGAN_FRAME_SIZE, out);
  }
  fclose(out);
  return 0;
}
