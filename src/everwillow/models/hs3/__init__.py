"""HS3, the serialisation standard of high energy physics."""
