"""The main job: `python -m convert model=hifigan precision=fp16`."""
