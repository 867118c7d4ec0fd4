"""The command `imagi`: its commands, and what they print."""
