<?php
// A Laravel application around the routes of docs/start/laravel.md, which stand in ROUTES: what a project has
// besides is as little as it can be. `php -S` asks this file; Laravel is Debian's php-laravel-framework.
declare(strict_types=1);

namespace App;

use Encke\Client;
use Illuminate\Contracts\Debug\ExceptionHandler;
use Illuminate\Contracts\Http\Kernel as HttpKernel;
use Illuminate\Foundation\Application;
use Illuminate\Foundation\Exceptions\Handler;
use Illuminate\Foundation\Http\Kernel;
use Illuminate\Http\Request;
use Illuminate\Support\Facades\Route;

// Debian's Laravel is older than its PHP.
error_reporting(E_ALL & ~E_DEPRECATED);
require '/usr/share/php/Illuminate/autoload.php';
foreach (['EnckeException', 'Client', 'Token', 'Webhook'] as $class) {
    require getenv('ENCKE_PHP') . "/$class.php";
}

final class WebKernel extends Kernel
{
    protected $middlewareGroups = ['web' => [
        \Illuminate\Cookie\Middleware\EncryptCookies::class,
        \Illuminate\Cookie\Middleware\AddQueuedCookiesToResponse::class,
        \Illuminate\Session\Middleware\StartSession::class,
    ]];
}

$app = new Application(getenv('LARAVEL'));
$app->singleton(HttpKernel::class, WebKernel::class);
$app->singleton(ExceptionHandler::class, Handler::class);
$app->singleton(Client::class, fn () => new Client(getenv('ENCKE_URL'), getenv('ENCKE_API_KEY')));
$app->booted(fn () => Route::middleware('web')->group(getenv('ROUTES')));
$kernel = $app->make(HttpKernel::class);
$request = Request::capture();
$response = $kernel->handle($request)->send();
$kernel->terminate($request, $response);
