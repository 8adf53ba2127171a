"""Outputs that the papers' authors released, read as records, so that no teacher is needed.

fine_tune_cot  Fine-tune-CoT: completions of one teacher
mentor_kd      Mentor-KD: rationales of teacher and mentor
pad            PaD: programs of a teacher and of a trained student
common         what the readers share

Questions are named as `distillery.tasks` names them, `{task}-{split}-{row:05d}` with the row of the published file, and
texts are kept byte for byte, white space at the ends included. The files do not have token counts: they are 0 here.
MAPD's exchange is read in `distillery.peer_review.released`.
"""
