"""Sources of training rows, by the name that recipes use (`rows.<source>.from`). Each is a module with a `SOURCE`."""

from distillery.config.extensions import RowSource
from distillery.training.sources import gold, mentor, programs, teacher

ROW_SOURCES: dict[str, RowSource] = {
    "teacher": teacher.SOURCE,
    "mentor": mentor.SOURCE,
    "programs": programs.SOURCE,
    "gold": gold.SOURCE,
}
