"""Between a plan and the wheels: command limits, watchdogs, the safety state machine."""
