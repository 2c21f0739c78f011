"""
Killing a receiver at random moments, and proving that it lost nothing by it.

Three processes that share nothing but a folder: a sender that signs events and notes
each answer (`sender`), a sink that notes each request (`sink`), and between them a
receiver, which is killed and started again (`killing`).  What the two noted is then
held against what was promised (`verdict`): they, not the receiver, are the witnesses.
"""
