"""The mails about runs: when they are sent, what they say, and when their incidents are resolved."""
