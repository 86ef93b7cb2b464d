"""Procedural pictures of posed mannequins: numpy and cv2 only, with exact masks and keypoints."""
