"""Locks and leads by the unmodified metaparticle-sync 0.2.0; its one argument is the sidecar's address."""

import os
import sys
import threading
import time
import urllib.error
import urllib.request
from importlib.util import find_spec

# Its election.py says `from lock import Lock`, which Python 3 finds only with the package's own directory in the path.
sys.path.append(os.path.dirname(find_spec("metaparticle_sync").origin))
from metaparticle_sync import Election, Lock  # noqa: E402

BASE = sys.argv[1]


def status(method, name):
    request = urllib.request.Request(BASE + "/locks/" + name, method=method)
    try:
        return urllib.request.urlopen(request).getcode()
    except urllib.error.HTTPError as error:
        return error.code


def lock():
    held = Lock("python", BASE)
    assert held.acquire(), "acquired"
    try:
        held.acquire()
        raise AssertionError("a second acquire of the same object was let through")
    except threading.ThreadError:
        pass
    time.sleep(12)  # past its second beat
    assert held.maintainer.is_alive(), "it still beats"
    assert status("POST", "python") == 409, "held"
    held.release()


def lead():
    led, lost = threading.Event(), threading.Event()
    election = Election("python-leader", led.set, lost.set)
    election.lock.base_uri = BASE
    thread = threading.Thread(target=election.run)
    thread.start()
    assert led.wait(15), "elected"
    time.sleep(1)
    assert status("GET", "python-leader") == 200
    election.shutdown()
    thread.join(30)
    assert lost.is_set(), "told of the end"


done = []
leading = threading.Thread(target=lambda: (lead(), done.append("led")))
leading.start()
lock()
leading.join(60)
assert done == ["led"]
print("all is well")
