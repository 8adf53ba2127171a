"""Rows of gold answers."""

from distillery.jobs.runner import run_script


def main(questions, completions, rows, sources, sampled):
    from distillery.records import Question, TrainingRow, read_records, write_records

    write_records(rows, [
        TrainingRow(qid=question.qid, source="gold", sample_index=0, completion_id=None, prompt=question.question,
                    target=question.gold)
        for question in read_records(questions, Question)
    ])  # fmt: skip


run_script("compose", main, globals())
