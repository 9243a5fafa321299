import Foundation
import VoxportRuntime

let speaking: Set<String> = ["text", "symbols", "speaker", "language", "pace", "pitch", "energy", "seed"]

let usage = """
    voxport-play info BUNDLE                   what a bundle holds
    voxport-play verify BUNDLE                 whether its files are those that were written, by their sha256
    voxport-play run BUNDLE IN.npz OUT.npz     frames of an utterance in, what the bundle makes of them out
    voxport-play vocode BUNDLE IN.wav OUT.wav  audio, mel, a vocoder's audio
    voxport-play convert-voice BUNDLE IN.wav OUT.wav
                                               a recording in another voice
    voxport-play live BUNDLE IN.wav OUT.wav    the same through a live session, --block 256 samples at a time
    voxport-play speak BUNDLE OUT.wav          a voice: --text TEXT, or --symbols SYMBOLS where it reads phonemes
    voxport-play check BUNDLE                  its goldens on this machine: SNR to PyTorch and a verdict, on each of Core ML's units
    voxport-play bench                         times of what runs beside the models (build it with -c release)

      --engine NAME        coreml or onnx [coreml where it is]
      --units NAME         of Core ML: cpu, cpu_and_gpu, cpu_and_ne, all [cpu_and_gpu; check: each]
      --cache FOLDER       of Core ML: where compiled models are kept [the user's caches]
      --lowered FOLDER     what `python -m runtime lower BUNDLE --out FOLDER` wrote, of a bundle for Core ML
      --onnxruntime PATH   the library that executes [VOXPORT_ONNXRUNTIME]
      --threads N          of the engine [its own choice]
      --mode MODE          of run and vocode: offline or overlap, where the artefact does not stream [overlap]; fold, where it samples
      --chunk N            of run and vocode: new frames per call [all that fit]
      --target FILE        of convert-voice and live: what `python -m runtime target` wrote, or a WAV of whom it is to be;
                           --own FILE, of whose voice goes in; --pitch SEMITONES
      --latent NUMBER:SCALE[:BIAS]
                           of convert-voice and live: a latent of a model that has them, by number from 0; again and again
      --gate DB            of live: silence where the input is softer, such as -45 [none]
      --speaker NAME, --language NAME, --pace 1.0, --pitch 0, --energy 0, --seed 0
                           of speak, as `python -m runtime speak` takes them
    """

/// Exit codes are those of Python's commands: 0 done, 1 missed, 2 wrong usage or input.
func run(_ words: [String]) async -> Int32 {
    do {
        switch words.first {
        case "info": try info(Arguments(Array(words.dropFirst()), options: []))
        case "verify": try verify(Arguments(Array(words.dropFirst()), options: []))
        case "run": try await play(Arguments(Array(words.dropFirst()), options: executing.union(["mode", "chunk"])))
        case "vocode", "convert-voice":
            let options = executing.union(["mode", "chunk", "target", "own", "pitch", "latent"])
            try await vocode(Arguments(Array(words.dropFirst()), options: options))
        case "live":
            let options = executing.union(["block", "target", "own", "pitch", "gate", "latent"])
            try await live(Arguments(Array(words.dropFirst()), options: options))
        case "speak": try await speak(Arguments(Array(words.dropFirst()), options: executing.union(speaking)))
        case "check": return try await check(Arguments(Array(words.dropFirst()), options: executing)) ? 0 : 1
        case "bench": try bench()
        case nil, "--help", "help": print(usage)
        case let word?: throw UsageError("there is no command \(word)\n\(usage)")
        }
        return 0
    } catch {
        FileHandle.standardError.write(Data("voxport-play: \(error.localizedDescription)\n".utf8))
        return 2
    }
}

exit(await run(Array(CommandLine.arguments.dropFirst())))
