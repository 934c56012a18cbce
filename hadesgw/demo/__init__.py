"""The rehearsal model: an actor with vLLM's wire manner, for rehearsing all that stands before it.

No language model runs here. Every answer is made from a script, is the same each time, and says so.
"""
