"""The only package that sends commands to beanstalkd."""
