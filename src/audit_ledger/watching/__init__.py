"""Nothing fails, stalls or goes missing in silence: schedules, and the delivery of alerts."""
