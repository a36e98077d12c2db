"""What tests of several files share: waiting, a real beanstalkd and workers, hostile servers, sources of executors."""
