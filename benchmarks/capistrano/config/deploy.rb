set :application, "cap"
set :repo_url, "file:///srv/repo.git"
set :branch, "main"
set :deploy_to, "/srv/cap"
set :linked_files, [".env"]
set :linked_dirs, ["data"]
set :keep_releases, 5
set :format, :pretty
set :log_level, :error
set :ssh_options, keys: [ENV["BENCH_RSA_KEY"]], keys_only: true, verify_host_key: :never, config: false

namespace :app do
  task :venv do
    on roles(:app) do
      # The usual recipe: one shared venv, brought up to date only when the lock file changed.
      within release_path do
        execute "cmp -s #{release_path}/requirements.txt #{shared_path}/requirements.txt || " \
                "{ test -d #{shared_path}/venv || python3 -m venv #{shared_path}/venv; " \
                "#{shared_path}/venv/bin/pip install -q --no-index --find-links /srv/cap-wheels --require-hashes -r #{release_path}/requirements.txt && " \
                "cp #{release_path}/requirements.txt #{shared_path}/requirements.txt; }"
        execute "ln -sfn #{shared_path}/venv #{release_path}/.venv"
      end
    end
  end

  task :migrate do
    on primary(:app) do
      execute "cd #{release_path} && set -a && . ./.env && .venv/bin/python migrate.py"
    end
  end

  task :restart do
    on roles(:app) do
      execute "sudo -n systemctl restart cap.service"
      execute "for n in $(seq 200); do curl -sf http://127.0.0.1:8002/ && exit 0; sleep 0.05; done; exit 1"
    end
  end
end

after "deploy:updated", "app:venv"
after "app:venv", "app:migrate"
after "deploy:published", "app:restart"
