"""Who stands where, which levels and views a picture has, and how much work that is. No torch: the gateway asks as well."""
