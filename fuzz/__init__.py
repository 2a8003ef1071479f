"""A fuzzer of the proxy: `python -m fuzz --minutes 10`.

A case tells what a client and an upstream do, piece by piece (`case.py`). It is played to a whole
proxy in this process, on an event loop without sockets whose clock stands still (`world.py`), and
what both sides heard is then read by h11 and compared with what both sides said (`oracles.py`).
Cases are mutations of those in `corpus/`, guided by coverage where atheris is installed.
"""
