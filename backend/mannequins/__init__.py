"""Procedural pictures of posed mannequins, to train and to judge by: numpy and cv2 only, with exact masks and keypoints."""
