"""Waiting for one's turn to be the server that writes, and noticing when it is over."""

import asyncio
import logging
from threading import Event

from andoncord.adapters.sql.database import Database

logger = logging.getLogger(__name__)

ASK_S = 0.2
"""How often a standby asks for the lease: a killed server is followed within about this long."""
CHECK_S = 1.0
"""How often the server that writes makes sure that it still may."""


def wait_for_lease(database: Database) -> None:
    """Return once this server is the one that writes; until then it is a standby that opens no port.

    Raises:
        CallerError: the database cannot be reached.
    """
    pause = Event()
    if database.take_lease():
        return
    logger.info("standing by: another server writes to %s", database.name)
    while not database.take_lease():
        pause.wait(ASK_S)
    logger.info("taking over: nobody else writes to %s any more", database.name)


async def watch_lease(database: Database) -> None:
    """Run until the lease is gone, and raise then: a server that may not write ends, and its guards hold by their leases.

    Raises:
        LeaseLostError: it is gone.
    """
    while True:
        await asyncio.sleep(CHECK_S)
        await asyncio.to_thread(database.check_lease)
