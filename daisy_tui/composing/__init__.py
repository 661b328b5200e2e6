"""A config being composed, without a screen: drafts, what they cost, and what becomes of them."""
