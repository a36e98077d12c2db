"""What people do by hand: look at jobs and tubes, change jobs, and put jobs. Commands and `QueueManager` call this."""
