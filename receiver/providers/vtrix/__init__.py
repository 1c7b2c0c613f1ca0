"""Vtrix, which serves Midjourney: its client, its bodies and its models."""
