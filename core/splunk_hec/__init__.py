"""Deliver events to Splunk's HTTP Event Collector and know, for each one, how it ended."""
