"""
Measuring receiver on the machine it is to run on: what `receiver bench` does.

Everything that costs time is a process of its own: the server, what it is compared
with, the load and the place things are delivered to.  `running` starts them, the
scenarios say what is sent where, `measured` makes rows of it.  Nothing here is loaded
by a server.
"""
