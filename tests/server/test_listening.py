"""Ports that another process is about to give up."""

import socket
import threading

from andoncord.server.listening import ASK_AGAIN_S, listen


def test_a_port_that_is_given_up_in_a_moment_is_waited_for() -> None:
    """Whoever takes over from a killed server meets its worker on the port, and does not end because of it."""
    holder = socket.create_server(("127.0.0.1", 0))
    port = holder.getsockname()[1]
    leaving = threading.Timer(3 * ASK_AGAIN_S, holder.close)
    leaving.start()

    with listen("127.0.0.1", port) as taken:
        assert taken.getsockname()[1] == port
    leaving.join()
