# The page of `rewardsmith collect`. Mount a folder with project.yaml at /data:
#   docker build -t rewardsmith-collect . && docker run -e REWARDSMITH_COLLECT_SECRET -v "$PWD:/data" -p 127.0.0.1:8001:8001 rewardsmith-collect
# A reverse proxy in front must speak HTTPS (docs/collect.md).
FROM python:3.11-slim
RUN useradd --create-home --uid 10001 collect
WORKDIR /src
COPY . .
RUN PIP_CONSTRAINT=constraints.txt pip install --no-cache-dir '.[collect]'
USER collect
WORKDIR /data
EXPOSE 8001
CMD ["rewardsmith", "collect", "serve", "--project", "/data/project.yaml", "--host", "0.0.0.0", "--behind-proxy"]
