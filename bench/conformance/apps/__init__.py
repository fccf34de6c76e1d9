"""The application that the probes ask. app.py puts it together; a probe and its answer are in files of one name."""
