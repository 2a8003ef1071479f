"""The data plane: the only room with client and upstream sockets."""
