"""The gateway: who calls, what the model is shown, the turn, and the stream back.

Touches no model, no index and no database: it speaks to the inference and memory services through their
protos, and to clients through `ChatService`. Messages and conversations stay what the protos call them on the
way through; everything the gateway makes of them (a prompt, a turn) is a value of its own.
"""
