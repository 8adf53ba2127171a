"""Threads of all tests: tiny models are slower with several, and much slower where threads spin on a busy machine."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
