"""Datasets and documents, without a screen."""
