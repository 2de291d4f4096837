"""When a lamp arrives. The flag `delivery-promise` chooses between the new promise and the estimate of before.

The promise has won: `flags.yaml` gives it to everybody. So the estimate may go, and `flagmw usage report` shows with what.
"""

import datetime as dt
import math

WAREHOUSE = (48.14, 11.58)
CAPITALS = {"DE": (52.52, 13.41), "FR": (48.86, 2.35), "US": (38.90, -77.04)}
EARTH_RADIUS_KM = 6371.0
TRUCK_KM_PER_DAY = 550
DAYS_AT_CUSTOMS = 5
PROMISED_DAYS = {"DE": 2, "FR": 3, "US": 4}


def promised(country: str, today: dt.date) -> str:
    """Name the day of the delivery: the warehouse packs on every working day."""
    day = today
    for _ in range(PROMISED_DAYS.get(country, 6)):
        day = next_working_day(day)
    return f"on {day:%A}, {day.day} {day:%B}"


def next_working_day(day: dt.date) -> dt.date:
    day += dt.timedelta(days=1)
    while day.weekday() >= 5:
        day += dt.timedelta(days=1)
    return day


def estimated(country: str) -> str:
    """Guess how many days a parcel takes, from how far it goes."""
    distance = distance_km(WAREHOUSE, CAPITALS.get(country, CAPITALS["US"]))
    days = math.ceil(distance / TRUCK_KM_PER_DAY) + customs_days(country)
    return worded(days, days + 2)


def distance_km(start: tuple[float, float], end: tuple[float, float]) -> float:
    """Measure along a great circle, between latitudes and longitudes in degrees."""
    (lat1, lon1), (lat2, lon2) = ((math.radians(a), math.radians(b)) for a, b in (start, end))
    half = math.sin((lat2 - lat1) / 2) ** 2
    half += math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(half))


def customs_days(country: str) -> int:
    return 0 if country in {"DE", "FR"} else DAYS_AT_CUSTOMS


def worded(least: int, most: int) -> str:
    return f"in {least} to {most} days"
