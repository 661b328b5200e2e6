"""Talking to served models, without a screen: servers, conversations, transcripts, the token lens."""
