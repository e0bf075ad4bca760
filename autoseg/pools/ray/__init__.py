"""The pool on Ray: slots on one machine or on a cluster, each of which pulls jobs until it is told
to stop.

In the driver, pool.py hands out jobs and follows the slots; slot.py is what runs on the nodes.
They talk through mailbox.py. connect.py starts or joins a cluster; tune.py lets Ray Tune place the
slots.
"""
