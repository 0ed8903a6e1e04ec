#!/usr/bin/env python3
"""Works under a cluster-wide lock, by the msync sidecar of this pod: lock.py NAME [SECONDS]

Standard library only, Python 3.9 or newer.
"""

import math
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

URL = os.environ.get("MSYNC_URL", "http://localhost:8080")
CLIENT = os.environ.get("MSYNC_CLIENT_ID", f"{socket.gethostname()}-{os.getpid()}")
TTL = int(os.environ.get("MSYNC_TTL", "30"))  # so long after the last beat the lock goes to others
WAIT = int(os.environ.get("MSYNC_WAIT", "60"))  # of one request in the queue; then it is repeated
AGAIN = (None, 408, 503)  # no answer, heard too late, or no locks to be had just now

# The sidecar is on loopback, never behind a proxy of the environment.
http = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Lock:
    """`with Lock("invoices") as lock:` waits and holds. lock.token is the fencing token, lock.lost an Event."""

    def __init__(self, name):
        self.url = f"{URL}/locks/{name}"
        self.token = None
        self.lost = threading.Event()
        self._deadline = math.inf  # until when it is safely ours, on the monotonic clock
        self._done = threading.Event()
        self._beater = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self):
        try:
            while (status := self._ask("PUT", f"?wait={WAIT}&ttl={TTL}", WAIT + 10)) != 200:
                if status in AGAIN:
                    print(f"the sidecar answers {status}, trying again", file=sys.stderr, flush=True)
                    time.sleep(1)
                elif status != 409:  # 409: somebody else had it all the while
                    raise RuntimeError(f"{self.url}: {status}")
        except BaseException:
            self._ask("DELETE", "", TTL / 3)  # it may have been granted in this very moment
            raise
        self._beater.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        self._beater.join()
        # Without an answer it ends by its ttl; 404 and 403 say that it has ended already.
        self._ask("DELETE", "", TTL / 3)

    def _beat(self):
        pause = TTL / 3
        while not self._done.wait(pause):
            status, left = self._ask("PUT", f"?ttl={TTL}", TTL / 3), self._deadline - time.monotonic()
            if status != 200 and (status not in AGAIN or left <= 0):
                return self.lost.set()
            pause = TTL / 3 if status == 200 else min(1, left)

    def _ask(self, method, query, patience):
        """The status of one request, None if there is no answer."""
        sent = time.monotonic()
        request = urllib.request.Request(self.url + query, method=method, headers={"Msync-Client-Id": CLIENT})
        try:
            with http.open(request, timeout=max(0.001, min(patience, self._deadline - sent))) as answer:
                if method == "PUT":
                    self.token = int(answer.headers["Msync-Fencing-Token"])
                    self._deadline = sent + float(answer.headers["Msync-Remaining-Seconds"])
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:  # refused, broken off, timed out
            return None


def main(name, seconds=1):
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # released, it is the next one's at once
    with Lock(name) as lock:
        print(f"{CLIENT} holds {name}, fencing token {lock.token}", flush=True)
        # The work: it gives the token to whatever it writes to, and ends when the lock is lost.
        if lock.lost.wait(float(seconds)):
            sys.exit(f"{CLIENT} lost {name}")
        print(f"{CLIENT} is done", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
