module peer-suture

go 1.19

require github.com/thejerf/suture/v4 v4.0.6
