"""Brokers that carry offers, claims, logs and ends: one small module each. What they hold may be
lost at any moment."""
