"""Alerts: incidents, the mails about them, and messages that are mailed because they were logged."""
