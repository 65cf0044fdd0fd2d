"""`hermes up`: every role of Hermes on one machine, as children of one supervisor.

foreground.run_foreground(UpOptions(...), display_for(console))    `hermes up`
detached.start_detached(UpOptions(...)) -> UpResult                `hermes up --detach`
control.stop(home) -> bool                                         `hermes down`
control.read_status(home) -> StatusResult | None                   `hermes status`
"""
