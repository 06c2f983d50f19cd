"""The data's way: one verb, one file, one promise.

    submit    an order becomes a run, durably, once for each key
    fire      occurrences become runs or skips in the commit that moves their schedule on
    admit     what is due, or no longer blocked, becomes ready
    claim     a session takes ready runs; each gets an attempt with a fence
    report    news and output of running attempts, under their fences
    settle    an attempt's outcome becomes the run's next state, once
    recover   what a lost worker held goes back
    define    tasks and schedules come, change and go, with their audit
    control   trigger, cancel, retry, pause, resume, drain, resize, relabel
    prune     what is old enough goes
    query     what people look at; explain: why a run or a schedule is as it is

Every verb is a function that takes the `Engine` (store, logs, clock, chance) first and works on many at once.
"""
