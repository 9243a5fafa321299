"""A recogniser that needs no weights: it reads what a test asks it to."""

import itertools


class Echo:
    """Gives one text in each call, round and round, and keeps the samples that it was given."""

    def __init__(self, *texts):
        self.texts, self.given = itertools.cycle(texts), []

    def read(self, samples, sample_rate):
        assert samples.ndim == 1
        self.given.append((samples, sample_rate))
        return next(self.texts)
