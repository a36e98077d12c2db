"""The beanstalkd worker."""
