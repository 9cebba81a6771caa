"""The Celery app for Celery's own programs: `celery -A zoo_workers.app inspect active`, Flower.

It reads Zoo's settings, so that these programs find the broker that the workers use. Workers with
`ZOO_CELERY_EVENTS=on` answer them. Jobs are submitted with `zoo`: there is no task to call.
"""

from __future__ import annotations

from zoo import environment_variables, settings
from zoo_workers import celery_app

LOCATE_SECONDS = 5.0
"""Time limit for all Sentinels together."""

environment_variables.ignore()
app = celery_app.make_app(settings.load(), patient=False)
app.broker.locate(LOCATE_SECONDS)
app.conf.broker_url = celery_app.kombu_url(app.broker.server)
