"""A faithful Splunk HTTP Event Collector for tests and demonstrations."""
