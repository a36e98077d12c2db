"""The one package that talks to beanstalkd."""
