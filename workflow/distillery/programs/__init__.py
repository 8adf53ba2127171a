"""Programs that models write: from a completion to a judged result (PaD, arXiv 2305.13888).

    extract      completion -> program, or the reason why there is none
    gate         what a program may say at all; reads it, never runs it
    sandbox      runs programs, apart from everything else (docs/sandbox.md); `isolation` is the wall,
                 `process` a worker seen from outside, `worker` from inside
    execution    what came of one run: the closed list of outcomes, and the reader of a run's record
    matching     is the result the gold answer? in two modes; the counters of a filter
    injection    wrong programs on purpose, for self-refinement
    feedback     what to tell a model about its program, without looking at the gold answer

A program is text from a stranger. It is parsed only within the bounds of `syntax`, executed only in the sandbox, and
what comes back from there is a claim about the program's own value, nothing more. Gold answers stay outside.
"""
