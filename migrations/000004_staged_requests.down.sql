DROP TABLE staged_requests;
