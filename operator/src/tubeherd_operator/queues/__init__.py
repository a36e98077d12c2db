"""beanstalkd's side: one poller for each server, which counts tubes and kicks jobs."""
