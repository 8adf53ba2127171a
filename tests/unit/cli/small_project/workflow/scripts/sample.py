"""Completions of a scripted model, through a real store."""

from distillery.jobs.runner import run_script


class Scripted:
    """Writes to each prompt what its key says."""

    def generate(self, requests, series):
        from distillery.sampling.backends.base import Generated

        for pending in requests:
            yield Generated(pending.key, f"It is {int(pending.key[:4], 16)}.", "stop", 1, 3)


def main(questions, exemplars, manifest, completions, spec, sampler):
    from distillery.records import Question, read_records, write_records
    from distillery.sampling.sampler import CompletionSampler, sample

    model_sampler = CompletionSampler.of(manifest)
    model_sampler._backend = Scripted()
    written, _ = sample(read_records(questions, Question), [], spec, model_sampler, sampler=sampler)
    write_records(completions, written)
    return {**model_sampler.report(), "seconds": 0.25}


run_script("sample", main, globals())
