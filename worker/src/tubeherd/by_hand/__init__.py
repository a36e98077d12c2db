"""What people do by hand: to look at jobs and tubes, and to put jobs back. Commands and `QueueManager` call this."""
