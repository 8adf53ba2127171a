"""Date Understanding: a date some days, weeks or months away, written as month/day/year.

Today is March 3, 2021. What is the date 10 days later? Write it as MM/DD/YYYY.  ->  03/13/2021
Option `years`: how many years after 2000 a date may lie (default 25).

Source: the BIG-bench task of that name by way of Fine-tune-CoT, which asks with choices; wording and numbers are ours.
"""

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

from distillery.tasks.generators.draw import Draw, Drawn, program_of, whole_number

OPTIONS = ("years",)
FORM = "%m/%d/%Y"
_UNITS = {"day": 1, "week": 7}
_OPENINGS = ("Today is {day}.", "{name} was born on {day}.", "A parcel was sent on {day}.", "The shop opened on {day}.")
_ASKED = ("What is the date {count} {unit} {way}?", "Which date is {count} {unit} {way}?")


def check(options: Mapping[str, Any]) -> None:
    """Refuse bad values with an OptionError."""
    whole_number(options, "years", 25, 1, 99)


def generate(draw: Draw, options: Mapping[str, Any]) -> Drawn:
    """One question; see the head of this module."""
    years = whole_number(options, "years", 25, 1, 99)
    start = date(2000, 1, 1) + timedelta(days=draw.below(365 * years))
    unit, count, later = draw.choice(("day", "week")), draw.between(2, 20), draw.below(2) == 1
    (name,) = draw.names(1)
    way = "later" if later else "earlier"
    shift = timedelta(days=count * _UNITS[unit])
    end = start + shift if later else start - shift
    day = f"{start:%B} {start.day}, {start.year}"
    opening = draw.choice(_OPENINGS).format(day=day, name=name)
    asked = draw.choice(_ASKED).format(count=count, unit=f"{unit}s", way=way)
    days = f"{count} weeks are {shift.days} days. " if unit == "week" else ""
    gold = end.strftime(FORM)
    return Drawn(
        question=f"{opening} {asked} Write it as MM/DD/YYYY.",
        gold=gold,
        rationale=f"The date is {start.strftime(FORM)}. {days}{shift.days} days {way} it is {gold}.",
        identity=f"{start} {count} {unit} {later}",
        meta={"unit": unit, "steps": 2 if unit == "week" else 1},
        program="from datetime import date, timedelta\n\n"
        + program_of(
            f"day = date({start.year}, {start.month}, {start.day})",
            f"shift = timedelta({unit}s={count})",
            f"end = day {'+' if later else '-'} shift",
            f"result = end.strftime('{FORM}')",
        ),
    )
